#!/bin/sh
# The manual pages alignpro(1) and alignpro-recipe(5), out of what the program says of itself.
# Usage: make_manual.sh ALIGNPRO FOLDER
set -eu
alignpro=$1
folder=$2
version=$("$alignpro" --version)

escaped() { sed -e 's/\\/\\e/g' -e 's/-/\\-/g' -e "s/^\([.']\)/\\\\\&\1/"; }
literal() { # its lines as they are
    echo ".nf"
    escaped
    echo ".fi"
}
head_of() { # head_of SECTION TITLE
    echo ".TH $2 $1 \"\" \"$version\" \"alignpro\""
    echo ".ad l"
    echo ".nh"
}

{
    head_of 1 ALIGNPRO
    echo ".SH NAME"
    "$alignpro" help | sed -n '1s/^alignpro: /alignpro \\- /p'
    echo ".SH SYNOPSIS"
    echo ".B alignpro"
    echo "COMMAND [OPTION]..."
    echo ".SH COMMANDS"
    "$alignpro" help | sed -n 's/^  \([a-z][a-z]*\)  *\([^ ].*\)$/.TP\n.B \1\n\2/p'
    "$alignpro" help | sed -n 's/^  \([a-z][a-z]*\)  .*$/\1/p' | while read -r command; do
        [ "$command" = help ] && continue
        echo ".SH ALIGNPRO $command" | tr '[:lower:]' '[:upper:]'
        "$alignpro" "$command" --help | literal
    done
    echo ".SH EXIT STATUS"
    echo "0 when all went well, 1 after a failure, 2 when the command line is wrong, 130 after an interruption."
    echo "Every failure is one line on standard error."
    echo ".SH SEE ALSO"
    echo ".BR alignpro\\-recipe (5)"
} >"$folder/alignpro.1.new"
mv "$folder/alignpro.1.new" "$folder/alignpro.1"

{
    head_of 5 ALIGNPRO-RECIPE
    echo ".SH NAME"
    echo "alignpro\\-recipe \\- every key of a recipe: type, range, default, meaning"
    echo ".SH KEYS"
    "$alignpro" help keys | escaped | sed -n -e 's/^  \([^ :]*\): \(.*\)$/.TP\n.B \1\n\2/p' -e 's/^\([^ :]*\): \(.*\)$/.SS \1: \2/p'
    echo ".SH SEE ALSO"
    echo ".BR alignpro (1)"
} >"$folder/alignpro-recipe.5.new"
mv "$folder/alignpro-recipe.5.new" "$folder/alignpro-recipe.5"
