"""Completion in a shell: commands, flags, fields of configs, and the names of configs.

source <(musicjax completion bash)        musicjax completion fish | source
"""

from __future__ import annotations

from musicjax import config as config_lib
from musicjax import config_files
from musicjax.cli import flags, help
from musicjax.errors import UsageError

BASH = """\
_musicjax() {{
  local current="${{COMP_WORDS[COMP_CWORD]}}" names
  COMPREPLY=()
  if [[ $current == "=" || ${{COMP_WORDS[COMP_CWORD-1]}} == "=" ]]; then
    [[ $current == "=" ]] && current="" || COMP_CWORD=$((COMP_CWORD-1))
    [[ ${{COMP_WORDS[COMP_CWORD-1]}} == --config ]] && COMPREPLY=($(compgen -W "{configs}" -- "$current"))
    return
  fi
  case "${{COMP_WORDS[1]}}" in
{cases}
    *) names="{default}" ;;
  esac
  [[ $COMP_CWORD == 1 && $current != -* ]] && names="{commands}"
  COMPREPLY=($(compgen -W "$names" -- "$current"))
  if [[ ${{COMPREPLY[0]}} == *= ]]; then compopt -o nospace 2>/dev/null; fi
}}
complete -o default -F _musicjax musicjax
"""

ZSH = """\
#compdef musicjax
_musicjax() {{
  local -a names
  if [[ $words[CURRENT] == --config=* ]]; then
    compset -P '*='
    compadd {configs}
    _files
    return
  fi
  if [[ $words[CURRENT] == --*=* ]]; then
    compset -P '*='
    _files
    return
  fi
  if (( CURRENT == 2 )) && [[ $words[2] != -* ]]; then
    compadd {commands}
    return
  fi
  case $words[2] in
{cases}
    *) names=({default}) ;;
  esac
  compadd -S '' -- $names
}}
compdef _musicjax musicjax
"""


def script(words: list[str]) -> str:
    """What a shell reads to complete; raises UsageError unless the words are the name of one."""
    makers = {"bash": _bash, "zsh": _zsh, "fish": _fish}
    if len(words) != 1 or words[0] not in makers:
        raise UsageError(f"{flags.COMPLETION} {' '.join(words)}: expected one of {', '.join(makers)}")
    return makers[words[0]]()


def _names(command: str) -> list[str]:
    """The flags of a command as they are typed, and the fields of a config."""
    own = [f"--{name}{'=' * (flag.kind != 'bool')}" for name, flag in flags.FLAGS.items() if command in flag.commands]
    fields = ["--config=", *(f"--config.{path}=" for path in config_lib.paths())] if command != "report" else []
    return [*own, *fields, *help.WORDS]


def _filled(template: str, case: str) -> str:
    cases = "\n".join(case.format(command, " ".join(_names(command))) for command in flags.COMMANDS)
    return template.format(
        configs=" ".join(config_files.names()),
        commands=" ".join([*flags.COMMANDS, flags.COMPLETION]),
        cases=cases,
        default=" ".join([*_names("train"), flags.VERSION]),
    )


def _bash() -> str:
    return _filled(BASH, '    {}) names="{}" ;;')


def _zsh() -> str:
    return _filled(ZSH, "    {}) names=({}) ;;")


def _fish() -> str:
    lines = [
        f"complete -c musicjax -n __fish_use_subcommand -f -a {name} -d {_quoted(meaning)}"
        for name, meaning in flags.COMMANDS.items()
    ]
    lines += ["complete -c musicjax -n '__fish_seen_subcommand_from completion' -f -a 'bash zsh fish'"]
    for name, flag in flags.FLAGS.items():
        seen = f"__fish_seen_subcommand_from {' '.join(flag.commands)}"
        where = f"{seen}; or __fish_use_subcommand" if "train" in flag.commands else seen
        takes = "" if flag.kind == "bool" else " -r"
        lines.append(f"complete -c musicjax -n '{where}' -l {name}{takes} -d {_quoted(flag.meaning)}")
    configs = " ".join(config_files.names())
    lines.append(f"complete -c musicjax -l config -r -a '{configs}' -d 'the config'")
    lines += [f"complete -c musicjax -l config.{path} -r" for path in config_lib.paths()]
    return "\n".join(lines) + "\n"


def _quoted(text: str) -> str:
    return "'" + text.replace("\\", "\\\\").replace("'", "\\'") + "'"
