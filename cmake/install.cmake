# What `make install` puts where, for three packages: the program, the library, and what compiling against it needs.
include(GNUInstallDirs)
include(CMakePackageConfigHelpers)

# The manual says what the program says of itself: `alignpro help`, one page of commands and one of recipe keys.
set(manual ${PROJECT_BINARY_DIR}/alignpro.1 ${PROJECT_BINARY_DIR}/alignpro-recipe.5)
add_custom_command(OUTPUT ${manual} VERBATIM
  DEPENDS alignpro ${PROJECT_SOURCE_DIR}/tools/make_manual.sh
  COMMAND sh ${PROJECT_SOURCE_DIR}/tools/make_manual.sh $<TARGET_FILE:alignpro> ${PROJECT_BINARY_DIR})
add_custom_target(manual ALL DEPENDS ${manual})

install(TARGETS alignpro COMPONENT program)
install(FILES ${PROJECT_BINARY_DIR}/alignpro.1 DESTINATION ${CMAKE_INSTALL_MANDIR}/man1 COMPONENT program)
install(FILES ${PROJECT_BINARY_DIR}/alignpro-recipe.5 DESTINATION ${CMAKE_INSTALL_MANDIR}/man5 COMPONENT program)
install(FILES ${CMAKE_CURRENT_LIST_DIR}/completion.bash RENAME alignpro
        DESTINATION ${CMAKE_INSTALL_DATADIR}/bash-completion/completions COMPONENT program)
install(FILES README.md DESTINATION ${CMAKE_INSTALL_DOCDIR} COMPONENT program)
install(FILES LICENSE RENAME copyright DESTINATION ${CMAKE_INSTALL_DOCDIR} COMPONENT program)
install(FILES LICENSE RENAME copyright DESTINATION ${CMAKE_INSTALL_DATADIR}/doc/libalignpro${PROJECT_VERSION_MAJOR} COMPONENT library)
install(FILES LICENSE RENAME copyright DESTINATION ${CMAKE_INSTALL_DATADIR}/doc/libalignpro-dev COMPONENT development)
install(DIRECTORY docs examples DESTINATION ${CMAKE_INSTALL_DOCDIR} COMPONENT program)

install(TARGETS libalignpro EXPORT alignpro
        LIBRARY COMPONENT library NAMELINK_COMPONENT development
        INCLUDES DESTINATION ${CMAKE_INSTALL_INCLUDEDIR})
install(DIRECTORY include/alignpro DESTINATION ${CMAKE_INSTALL_INCLUDEDIR} COMPONENT development)
file(RELATIVE_PATH prefix_from_pc /${CMAKE_INSTALL_LIBDIR}/pkgconfig /) # so that a copied tree still works
configure_file(${CMAKE_CURRENT_LIST_DIR}/alignpro.pc.in alignpro.pc @ONLY)
install(FILES ${PROJECT_BINARY_DIR}/alignpro.pc DESTINATION ${CMAKE_INSTALL_LIBDIR}/pkgconfig COMPONENT development)
set(package ${CMAKE_INSTALL_LIBDIR}/cmake/alignpro)
install(EXPORT alignpro NAMESPACE alignpro:: FILE alignproConfig.cmake DESTINATION ${package} COMPONENT development)
write_basic_package_version_file(${PROJECT_BINARY_DIR}/alignproConfigVersion.cmake COMPATIBILITY SameMinorVersion)
install(FILES ${PROJECT_BINARY_DIR}/alignproConfigVersion.cmake DESTINATION ${package} COMPONENT development)

# `make deb`: alignpro, libalignpro0, libalignpro-dev
set(CPACK_GENERATOR DEB)
set(CPACK_PACKAGE_NAME alignpro)
set(CPACK_PACKAGE_VENDOR alignpro)
set(CPACK_PACKAGE_CONTACT "The alignpro engineers <alignpro@localhost>")
set(CPACK_PACKAGE_DESCRIPTION_SUMMARY "align a language model that may not be touched, by learning to rewrite its prompts")
set(CPACK_PACKAGE_DIRECTORY ${PROJECT_BINARY_DIR}/deb)
set(CPACK_PACKAGING_INSTALL_PREFIX /usr)
set(CPACK_STRIP_FILES ON)
set(CPACK_DEB_COMPONENT_INSTALL ON)
set(CPACK_COMPONENTS_ALL program library development)
set(CPACK_DEBIAN_FILE_NAME DEB-DEFAULT)
set(CPACK_DEBIAN_PACKAGE_SECTION science)
set(CPACK_DEBIAN_PACKAGE_SHLIBDEPS ON)
set(CPACK_DEBIAN_PACKAGE_HOMEPAGE https://arxiv.org/abs/2501.03486)
set(CPACK_DEBIAN_PROGRAM_PACKAGE_NAME alignpro)
set(CPACK_COMPONENT_PROGRAM_DESCRIPTION "the program, its manual and its examples")
set(CPACK_DEBIAN_LIBRARY_PACKAGE_NAME libalignpro${PROJECT_VERSION_MAJOR})
set(CPACK_DEBIAN_LIBRARY_PACKAGE_SECTION libs)
set(CPACK_DEBIAN_LIBRARY_PACKAGE_CONTROL_EXTRA ${CMAKE_CURRENT_LIST_DIR}/triggers)
set(CPACK_COMPONENT_LIBRARY_DESCRIPTION "the shared library")
set(CPACK_DEBIAN_DEVELOPMENT_PACKAGE_NAME libalignpro-dev)
set(CPACK_DEBIAN_DEVELOPMENT_PACKAGE_SECTION libdevel)
set(CPACK_DEBIAN_DEVELOPMENT_PACKAGE_DEPENDS "libalignpro${PROJECT_VERSION_MAJOR} (= ${PROJECT_VERSION})")
set(CPACK_COMPONENT_DEVELOPMENT_DESCRIPTION "headers, pkg-config and CMake package")
include(CPack)
