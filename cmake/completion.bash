# bash completion of alignpro: commands, their options, files, recipe keys. It asks the program, so that nothing is
# written twice. In zsh: autoload -U +X bashcompinit && bashcompinit, then source this file.

_alignpro_keys() { "$1" help keys 2>/dev/null | sed -n 's/^ *\([a-z_]*\.[a-zA-Z_.]*\).*/\1/p'; }
_alignpro_commands() { "$1" help 2>/dev/null | sed -n 's/^  \([a-z]*\)  .*/\1/p'; }
_alignpro_options() { "$1" help "$2" 2>/dev/null | grep -o -e '--[a-z][a-z0-9-]*' | sort -u; }

_alignpro() {
    local program=$1 word=$2 before=$3 command=${COMP_WORDS[1]}
    COMPREPLY=()
    if [ "$COMP_CWORD" = 1 ]; then
        mapfile -t COMPREPLY < <(compgen -W "$(_alignpro_commands "$program") --version --help" -- "$word")
    elif [ "$command" = help ]; then
        mapfile -t COMPREPLY < <(compgen -W "$(_alignpro_commands "$program") $(_alignpro_keys "$program") keys" -- "$word")
    elif [ "$before" = --set ]; then
        compopt -o nospace 2>/dev/null
        mapfile -t COMPREPLY < <(compgen -S = -W "$(_alignpro_keys "$program")" -- "$word")
    elif [ "${word#-}" != "$word" ]; then
        mapfile -t COMPREPLY < <(compgen -W "$(_alignpro_options "$program" "$command")" -- "$word")
    else
        compopt -o filenames 2>/dev/null
        mapfile -t COMPREPLY < <(compgen -f -- "$word")
    fi
}
complete -F _alignpro alignpro
