"""`leadline completion`."""

import ast
import re
import shlex
from collections.abc import Mapping, Sequence
from contextlib import redirect_stdout, suppress
from dataclasses import dataclass
from functools import cache
from importlib import import_module
from io import StringIO
from typing import Literal

import tyro

from leadline.cli.main import COMMANDS, GLOBAL_OPTIONS


@dataclass(frozen=True)
class CompletionCommand:
    """Print a script that lets a shell complete commands, options, and the values that an option may have.

    bash: leadline completion bash > ~/.local/share/bash-completion/completions/leadline

    zsh:  leadline completion zsh > ~/.leadline.zsh; echo 'source ~/.leadline.zsh' >> ~/.zshrc

    fish: leadline completion fish > ~/.config/fish/completions/leadline.fish
    """

    shell: tyro.conf.Positional[Literal["bash", "zsh", "fish"]]
    """The shell."""

    def run(self) -> int:
        commands = {name: _options(name) for name in COMMANDS}
        print({"bash": _bash, "zsh": _zsh, "fish": _fish}[self.shell](commands))
        return 0


@dataclass(frozen=True)
class _Option:
    flags: tuple[str, ...]
    """As they are typed, `--out`."""
    choices: tuple[str, ...]
    """Its values, if it has only some."""
    help: str


@cache
def _options(command: str) -> tuple[_Option, ...]:
    module, _, name = COMMANDS[command][0].partition(":")
    script = StringIO()
    with suppress(SystemExit), redirect_stdout(script):  # tyro's own script, which ends the program, lists the options
        tyro.cli(
            getattr(import_module(module), name),
            args=["--tyro-print-completion", "bash"],
            config=(tyro.conf.DisallowNone, tyro.conf.EnumChoicesFromValues),
        )
    (listed,) = re.findall(r"^COMPLETION_SPEC = (.*)$", script.getvalue(), re.MULTILINE)
    found = [
        _Option(tuple(each["flags"]), tuple(each.get("choices", ())), " ".join(each["description"].split()))
        for each in ast.literal_eval(listed)["options"]
    ]
    return (*found, *(_Option((flag,), (), "") for flag in sorted(GLOBAL_OPTIONS)))


def _next_words(commands: Mapping[str, Sequence[_Option]]) -> dict[str, list[str]]:
    """Return the words that may follow: the start of a command, `study`, or `` → `stages`, `losses` …"""
    following: dict[str, list[str]] = {}
    for name in commands:
        words = name.split()
        for count, word in enumerate(words):
            known = following.setdefault(" ".join(words[:count]), [])
            if word not in known:
                known.append(word)
    return following


def _bash(commands: Mapping[str, Sequence[_Option]]) -> str:
    following = _next_words(commands)
    starts = "|".join(shlex.quote(f"{start} {word}") for start, words in following.items() for word in words)
    values, options, places = [], [], []
    for name, known in commands.items():
        flags = " ".join(flag for option in known for flag in option.flags)
        options.append(f"        {shlex.quote(name)}) words={shlex.quote(flags)} ;;")
        for option in known:
            choices = shlex.quote(" ".join(option.choices))
            for flag in option.flags if option.choices else ():
                values.append(f"        {shlex.quote(f'{name} {flag}')}) words={choices} ;;")
    for start, words in following.items():
        places.append(f"        {shlex.quote(start)}) words={shlex.quote(' '.join(words))} ;;")
    return f"""\
_leadline() {{
    local current="${{COMP_WORDS[COMP_CWORD]}}" before="${{COMP_WORDS[COMP_CWORD-1]}}" command='' words='' word
    for word in "${{COMP_WORDS[@]:1:$((COMP_CWORD - 1))}}"; do
        case "$command $word" in {starts}) command="${{command:+$command }}$word" ;; esac
    done
    case "$command $before" in
{_lines(values)}
    *)
        case "$current" in
        -*)
            case "$command" in
{_lines(options)}
            esac ;;
        *)
            case "$command" in
{_lines(places)}
            esac ;;
        esac ;;
    esac
    COMPREPLY=($(compgen -W "$words" -- "$current"))
}}
complete -o default -F _leadline leadline"""


def _zsh(commands: Mapping[str, Sequence[_Option]]) -> str:
    """Zsh runs completions of bash."""
    return f"autoload -U +X compinit bashcompinit\ncompinit\nbashcompinit\n{_bash(commands)}"


def _fish(commands: Mapping[str, Sequence[_Option]]) -> str:
    following = _next_words(commands)
    starts = shlex.join(f"{start} {word}" for start, words in following.items() for word in words)
    lines = [
        "function __leadline_at",
        "    set --local command ''",
        "    for word in (commandline --tokens-expanded --cut-at-cursor 2>/dev/null; or commandline -opc)[2..]",
        f'        contains -- "$command $word" {starts}; and set command (string trim -- "$command $word")',
        "    end",
        '    test "$command" = "$argv[1]"',
        "end",
    ]
    for start, words in following.items():
        for word in words:
            name = f"{start} {word}".strip()
            purpose = COMMANDS[name][1] if name in COMMANDS else ""
            lines.append(_fish_line(start, ["-f", "-a", word], purpose))
    for name, known in commands.items():
        for option in known:
            words = [part for flag in option.flags for part in _fish_flag(flag)]
            if option.choices:
                words += ["-x", "-a", " ".join(option.choices)]
            lines.append(_fish_line(name, words, option.help))
    return "\n".join(lines)


def _fish_flag(flag: str) -> list[str]:
    return ["-l", flag[2:]] if flag.startswith("--") else ["-s", flag[1:]]


def _fish_line(command: str, words: Sequence[str], purpose: str) -> str:
    at = f"__leadline_at {_fish_quoted(command)}"
    return " ".join(["complete -c leadline", *map(_fish_quoted, ["-n", at, *words, "-d", purpose[:80]])])


def _fish_quoted(word: str) -> str:
    """Quote a word; between single quotes fish knows two escapes, where other shells know none."""
    return "'" + word.replace("\\", "\\\\").replace("'", "\\'") + "'"


def _lines(lines: Sequence[str]) -> str:
    return "\n".join(lines)
