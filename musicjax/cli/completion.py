"""Shell completion of commands, flags, config fields, config names and the values of flags that have fixed ones.

source <(musicjax completion bash)        musicjax completion fish | source
"""

from __future__ import annotations

from musicjax import config as config_lib
from musicjax import config_files
from musicjax.cli import flags, help
from musicjax.errors import UsageError
from musicjax.generation.request import AUDIO_KINDS, DECODES

BASH = """\
_musicjax() {{
  local current="${{COMP_WORDS[COMP_CWORD]}}" names
  COMPREPLY=()
  if [[ $current == "=" || ${{COMP_WORDS[COMP_CWORD-1]}} == "=" ]]; then
    [[ $current == "=" ]] && current="" || COMP_CWORD=$((COMP_CWORD-1))
    case "${{COMP_WORDS[COMP_CWORD-1]}}" in
{values}
    *) names="" ;;
    esac
    COMPREPLY=($(compgen -W "$names" -- "$current"))
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

SHELLS = ("bash", "zsh", "fish")
ZSH = """\
#compdef musicjax
(( $+functions[compdef] )) || {{ autoload -Uz compinit; compinit -i }}
_musicjax() {{
  local -a names
  if [[ $words[CURRENT] == --*=* ]]; then
    case $words[CURRENT] in
{values}
    *) names=() ;;
    esac
    local flag=${{words[CURRENT]%%=*}}
    compset -P '*='
    compadd -a names
    case $flag in
    --config) _files -g '*.(json|py)(-.)' ;;
    {folders}) _files -/ ;;
    *) _files ;;
    esac
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

FISH = """\
function __musicjax_paths
  set -l typed (string replace -r -- '^--[^=]*=' '' (commandline -ct))
  complete -C "__musicjax_without_completions $typed" | string match -r -- $argv[1]
end
"""
# Flags whose value is a folder; --data may be a file too.
FOLDERS = ("workdir", "output_dir", "init_from")


def script(words: list[str]) -> str:
    """What a shell reads to complete; raises UsageError unless the words are the name of one."""
    makers = dict(zip(SHELLS, (_bash, _zsh, _fish), strict=True))
    if len(words) != 1 or words[0] not in makers:
        raise UsageError(f"{' '.join([flags.COMPLETION, *words])}: expected one of {', '.join(SHELLS)}")
    return makers[words[0]]()


def _values() -> dict[str, list[str]]:
    """The values of flags that have fixed ones. The shell itself completes the names of files."""
    own = {"config": config_files.names(), "audio": ["auto", "none", *AUDIO_KINDS], "decode": ["auto", *DECODES]}
    return own | {name: list(words) for name, words in flags.CHOICES.items()}


def _names(command: str) -> list[str]:
    """The flags of a command as they are typed, and the fields of a config."""
    own = [f"--{name}{'=' * (flag.kind != 'bool')}" for name, flag in flags.FLAGS.items() if command in flag.commands]
    fields = ["--config=", *(f"--config.{path}=" for path in config_lib.paths())] if command != "report" else []
    return [*own, *fields, *help.WORDS]


def _filled(template: str, flag: str, case: str) -> str:
    """The template with its lists.

    Args:
        flag: the pattern of a flag whose value is completed.
        case: the line that sets `names` where a word fits a pattern.
    """
    after = {command: _names(command) for command in flags.COMMANDS} | {flags.COMPLETION: list(SHELLS)}
    return template.format(
        values="\n".join(case.format(flag.format(name), " ".join(words)) for name, words in _values().items()),
        commands=" ".join([*flags.COMMANDS, flags.COMPLETION]),
        cases="\n".join(case.format(command, " ".join(names)) for command, names in after.items()),
        default=" ".join([*_names("train"), flags.VERSION]),
        folders="|".join(f"--{name}" for name in FOLDERS),
    )


def _bash() -> str:
    return _filled(BASH, "--{}", '    {}) names="{}" ;;')


def _zsh() -> str:
    return _filled(ZSH, "--{}=*", "    {}) names=({}) ;;")


def _fish() -> str:
    begin, values = "complete -c musicjax -n", _values()
    meanings = flags.COMMANDS | {flags.COMPLETION: flags.OF_COMPLETION}
    lines = [f"{begin} __fish_use_subcommand -f -a {name} -d {_quoted(meaning)}" for name, meaning in meanings.items()]
    lines.append(f"{begin} '__fish_seen_subcommand_from {flags.COMPLETION}' -f -a '{' '.join(SHELLS)}'")
    for name, flag in flags.FLAGS.items():
        seen = f"__fish_seen_subcommand_from {' '.join(flag.commands)}"
        where = f"{seen}; or __fish_use_subcommand" if "train" in flag.commands else seen
        takes = {"bool": "", "path": " -r"}.get(flag.kind, f" -x -a '{' '.join(values.get(name, ()))}'")
        if name in FOLDERS:
            takes = """ -x -a '(__musicjax_paths ".*/\\$")'"""
        lines.append(f"{begin} '{where}' -l {name}{takes} -d {_quoted(flag.meaning)}")
    takes_config = f"{begin} 'not __fish_seen_subcommand_from report {flags.COMPLETION}'"
    configs = " ".join([*values["config"], '(__musicjax_paths ".*(/|\\.json|\\.py)\\$")'])
    lines.append(f"{takes_config} -l config -x -a '{configs}' -d 'the config'")
    lines += [
        f"{takes_config} -l config.{path} {'-r' if path in flags.PATH_FIELDS else '-x'}" for path in config_lib.paths()
    ]
    lines += [
        f"complete -c musicjax -l {word.removeprefix('--')}" for word in (*help.WORDS, flags.VERSION) if "--" in word
    ]
    return FISH + "\n".join(lines) + "\n"


def _quoted(text: str) -> str:
    return "'" + text.replace("\\", "\\\\").replace("'", "\\'") + "'"
