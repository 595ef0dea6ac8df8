"""Parser of the commands that are not on the config of a training; it needs no library."""

import argparse
import re
from typing import Any, NoReturn

from dasc.errors import UserError


class ArgumentParser(argparse.ArgumentParser):
    """Parser that raises the user's mistakes, and does not accept abbreviated options."""

    def __init__(self, **settings: Any) -> None:
        super().__init__(**settings, allow_abbrev=False)

    def error(self, message: str) -> NoReturn:
        """Raise what is wrong.

        Raises:
            UserError: Always.
        """
        message = re.sub(r"^argument (\S+): invalid choice: ('[^']*') \(choose from (.*)\)", _choice, message)
        message = re.sub(r"^the following arguments are required: (\S+)", r"\1 is missing", message)
        message = re.sub(r"^argument (\S+): expected one argument", r"\1 has no value", message)
        message = re.sub(r"^argument (\S+): (?=must be)", r"\1 ", message)
        raise UserError(f"{message}: see {self.prog} --help")


def _choice(found: re.Match[str]) -> str:
    return f"{found[1]} must be one of {found[3].replace(chr(39), '')}, got {found[2]}"
