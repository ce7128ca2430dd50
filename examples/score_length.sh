#!/bin/sh
# A reward of a user's own, in nothing but the shell: answers of about 80 characters (escapes counted as they
# stand in the line). docs/formats.md describes the lines; their keys come in a fixed order.
while IFS= read -r line; do
    id=${line#'{"id":'}
    response=${line##*'"response":"'}
    response=${response%%'","context":['*}
    away=$((${#response} - 80))
    echo "{\"id\": ${id%%,*}, \"score\": -${away#-}}"
done
