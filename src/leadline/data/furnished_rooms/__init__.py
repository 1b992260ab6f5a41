"""Furnished rooms: photographs with exact depth, rendered by Blender from furniture models of true size.

The models are those of the catalogues of Sweet Home 3D (Debian's package `sweethome3d-furniture`), under CC0 and
CC BY 3.0.
`catalogue` reads them, `layout` furnishes a room from a seed, `blender` is the script that Blender's Python runs, and
`render` drives it and writes a folder of `rgb/` and `depth/` that the `folder` dataset reads.
"""
