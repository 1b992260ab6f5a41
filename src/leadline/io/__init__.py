"""Files: photographs and depth maps read and written, downloads, locks and run folders."""
