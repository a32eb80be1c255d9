"""debian.bzl: repositories made of symbolic links to the files of an installed Debian package.

Headers below /usr/include are left out on purpose: every compiler finds them there itself, and a second path to the same
directory would break #include_next. Archives are linked in one by one, so that Bazel sees when a package changes them.
"""

def library_directory(repository_ctx):
    """Debian's directory of libraries for this machine's architecture, as a path (/usr/lib/x86_64-linux-gnu)."""
    for entry in repository_ctx.path("/usr/lib").readdir():
        if entry.basename.endswith("-linux-gnu") and entry.get_child("libc.so.6").exists:
            return entry
    fail("no /usr/lib/*-linux-gnu/libc.so.6 on this machine: is it Debian?")

def link_or_explain(repository_ctx, source, target, package):
    """Links `source`, a file or directory of the Debian package `package`, to `target` in the repository."""
    if not repository_ctx.path(source).exists:
        fail("%s is not there; it belongs to the Debian package %s: run ./setup.sh" % (source, package))
    repository_ctx.symlink(source, target)

def _debian_repository_impl(repository_ctx):
    package = repository_ctx.attr.package
    for archive in repository_ctx.attr.archives:
        source = library_directory(repository_ctx).get_child(archive)
        link_or_explain(repository_ctx, source, "lib/" + archive, package)
    for target, source in repository_ctx.attr.trees.items():
        link_or_explain(repository_ctx, source, target, package)
    repository_ctx.symlink(repository_ctx.attr.build_file, "BUILD.bazel")

debian_repository = repository_rule(
    implementation = _debian_repository_impl,
    attrs = {
        "archives": attr.string_list(doc = "Libraries to link as lib/<name>."),
        "build_file": attr.label(allow_single_file = True, mandatory = True),
        "package": attr.string(mandatory = True, doc = "The Debian package, for the message when a file is missing."),
        "trees": attr.string_dict(doc = "Directories to link: name in the repository -> absolute path."),
    },
    local = True,
)
