#!/bin/sh
# A judge that compares, in nine lines: it prefers the shorter answer. For a recipe with
#     judges: {shorter: {command: [sh, judge_shorter.sh], question: "{a}<|>{b}"}}
#     eval:   {judges: [reward, shorter]}
while IFS= read -r line; do
    id=$(printf '%s' "$line" | sed 's/^{"id": *\([0-9]*\).*/\1/')
    text=$(printf '%s' "$line" | sed 's/^.*"question": *"\(.*\)"}$/\1/')
    a=${text%%"<|>"*}
    b=${text#*"<|>"}
    if [ ${#a} -lt ${#b} ]; then v=A; elif [ ${#b} -lt ${#a} ]; then v=B; else v=tie; fi
    printf '{"id": %s, "reply": "%s"}\n' "$id" "$v"
done
