# Write OUT, a C file with the bytes of FILES (a ;-list) as the table ap_demo_files. Run in script mode at build
# time: cmake -DOUT=… -DFILES=… -P embed.cmake
set(body "#include \"pipeline/demo_files.h\"\n\n")
set(rows "")
set(i 0)
foreach(file ${FILES})
  file(READ ${file} hex HEX)
  string(REGEX REPLACE "([0-9a-f][0-9a-f])" "0x\\1," bytes "${hex}")
  get_filename_component(name ${file} NAME)
  string(APPEND body "static const unsigned char file_${i}[] = {${bytes}0};\n")
  string(APPEND rows "    {\"${name}\", file_${i}, sizeof(file_${i}) - 1},\n")
  math(EXPR i "${i} + 1")
endforeach()
file(WRITE ${OUT} "${body}\nconst struct ap_demo_file ap_demo_files[] = {\n${rows}};\nconst int ap_n_demo_files = ${i};\n")
