"""headers.bzl: headers_test, which holds when every public header of the given libraries compiles alone.

Walks the cc_library targets of this repository that the given ones depend on. Each of their headers becomes a source file
that holds nothing but its #include, twice (the guard must work), compiled with the declared dependencies of its library.
"""

load("@bazel_tools//tools/cpp:toolchain_utils.bzl", "find_cpp_toolchain")

_Objects = provider(fields = ["objects"])

def _compile_headers_impl(target, ctx):
    collected = [dep[_Objects].objects for dep in getattr(ctx.rule.attr, "deps", []) if _Objects in dep]
    headers = getattr(ctx.rule.files, "hdrs", [])
    objects = []
    if headers and not target.label.workspace_root:
        sources = []
        for header in headers:
            source = ctx.actions.declare_file("%s.alone/%s.cc" % (target.label.name, header.basename))
            ctx.actions.write(source, "#include \"%s\"\n#include \"%s\"\n" % (header.short_path, header.short_path))
            sources.append(source)
        cc_toolchain = find_cpp_toolchain(ctx)
        _, outputs = cc_common.compile(
            name = target.label.name + ".alone",
            actions = ctx.actions,
            cc_toolchain = cc_toolchain,
            disallow_nopic_outputs = True,  # one object a header is enough
            compilation_contexts = [target[CcInfo].compilation_context],
            feature_configuration = cc_common.configure_features(
                ctx = ctx,
                cc_toolchain = cc_toolchain,
                requested_features = ctx.features,
                unsupported_features = ctx.disabled_features,
            ),
            srcs = sources,
            user_compile_flags = ["-Wall", "-Wextra", "-Werror", "-O0"],
        )
        objects = outputs.pic_objects
    return [_Objects(objects = depset(objects, transitive = collected))]

_compile_headers = aspect(
    implementation = _compile_headers_impl,
    attr_aspects = ["deps"],
    attrs = {"_cc_toolchain": attr.label(default = "@bazel_tools//tools/cpp:current_cc_toolchain")},
    fragments = ["cpp"],
    toolchains = ["@bazel_tools//tools/cpp:toolchain_type"],
)

def _headers_test_impl(ctx):
    objects = depset(transitive = [library[_Objects].objects for library in ctx.attr.libraries]).to_list()
    if len(objects) < ctx.attr.headers_min:
        fail("only %d headers are reached, %d were expected: is a library missing?" % (len(objects), ctx.attr.headers_min))

    # The work is the compilation; the test itself has only to exist.
    ctx.actions.write(ctx.outputs.executable, "#!/bin/sh\necho %d headers compile alone\n" % len(objects), True)
    return [DefaultInfo(runfiles = ctx.runfiles(files = objects))]

headers_test = rule(
    implementation = _headers_test_impl,
    attrs = {
        "headers_min": attr.int(default = 1, doc = "Fewer headers than this mean that the walk went wrong."),
        "libraries": attr.label_list(aspects = [_compile_headers], mandatory = True, providers = [CcInfo]),
    },
    test = True,
)
