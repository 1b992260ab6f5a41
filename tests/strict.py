"""The type checker that tests put into the whole package: to it a whole number is a float, as to Python."""

from beartype import BeartypeConf, beartype

checked = beartype(conf=BeartypeConf(is_pep484_tower=True))
