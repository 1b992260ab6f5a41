"""Checks that tests put into the whole package: types everywhere, and shapes wherever a signature names any.

jaxtyping's own decorator binds the arguments of every call to its signature, to remember the sizes of dimensions. That
is most of what the checks cost, and means nothing where no array has a shape.
"""

import inspect
from dataclasses import is_dataclass
from functools import partial
from typing import Any, get_args

import jaxtyping
from beartype import BeartypeConf, beartype

check_types = beartype(conf=BeartypeConf(is_pep484_tower=True))
"""To this checker a whole number is a float, as to Python."""


def install() -> None:
    """Check whatever is imported of the package from now on."""
    jaxtyping.jaxtyped = _checked
    jaxtyping.install_import_hook("leadline", "strict.check_types")


_check_shapes: Any = jaxtyping.jaxtyped


def _checked(thing: Any = None, *, typechecker: Any) -> Any:
    """Take the place of `jaxtyping.jaxtyped`, which the import hook puts before every function and class."""
    if thing is None:
        return partial(_checked, typechecker=typechecker)
    if inspect.isclass(thing):
        if is_dataclass(thing) and "__init__" in vars(thing):
            constructor: Any = thing
            constructor.__init__ = _checked(constructor.__init__, typechecker=typechecker)
        return thing
    if isinstance(thing, classmethod | staticmethod):
        return type(thing)(_checked(thing.__func__, typechecker=typechecker))
    if isinstance(thing, property):
        return property(*(each and _checked(each, typechecker=typechecker) for each in (thing.fget, thing.fset)))
    return (_check_shapes if _names_shapes(thing) else _check_types)(thing, typechecker=typechecker)


def _check_types(function: Any, *, typechecker: Any) -> Any:
    return typechecker(function)


def _names_shapes(function: Any) -> bool:
    return any(map(_has_shape, function.__annotations__.values()))


def _has_shape(annotation: Any) -> bool:
    if isinstance(annotation, str):
        return "[" in annotation
    is_array = inspect.isclass(annotation) and issubclass(annotation, jaxtyping.AbstractArray)
    return is_array or any(map(_has_shape, get_args(annotation)))
