"""repository.bzl: Debian's Abseil (libabsl-dev) under the labels that Abseil has upstream.

What depends on what, and in which order the archives are linked, is read from the package's own pkg-config files; only the
labels stand here. A move to Abseil's own Bazel files therefore changes nothing outside this folder.
"""

load("//third_party:debian.bzl", "library_directory", "link_or_explain")

# Upstream's package -> {target: name of the pkg-config file without absl_}. Internal targets are left out: nobody outside
# Abseil may name them.
_TARGETS = {
    "algorithm": {"algorithm": "algorithm", "container": "algorithm_container"},
    "base": {
        "base": "base",
        "config": "config",
        "core_headers": "core_headers",
        "dynamic_annotations": "dynamic_annotations",
        "endian": "endian",
        "log_severity": "log_severity",
        "prefetch": "prefetch",
        "raw_logging_internal": "raw_logging_internal",
    },
    "cleanup": {"cleanup": "cleanup"},
    "container": {
        "btree": "btree",
        "fixed_array": "fixed_array",
        "flat_hash_map": "flat_hash_map",
        "flat_hash_set": "flat_hash_set",
        "inlined_vector": "inlined_vector",
        "node_hash_map": "node_hash_map",
        "node_hash_set": "node_hash_set",
    },
    "debugging": {
        "failure_signal_handler": "failure_signal_handler",
        "leak_check": "leak_check",
        "stacktrace": "stacktrace",
        "symbolize": "symbolize",
    },
    "flags": {
        "commandlineflag": "flags_commandlineflag",
        "config": "flags_config",
        "flag": "flags",
        "marshalling": "flags_marshalling",
        "parse": "flags_parse",
        "reflection": "flags_reflection",
        "usage": "flags_usage",
    },
    "functional": {"any_invocable": "any_invocable", "bind_front": "bind_front", "function_ref": "function_ref"},
    "hash": {"hash": "hash"},
    "memory": {"memory": "memory"},
    "meta": {"type_traits": "type_traits"},
    "numeric": {"bits": "bits", "int128": "int128"},
    "random": {
        "bit_gen_ref": "random_bit_gen_ref",
        "distributions": "random_distributions",
        "random": "random_random",
        "seed_gen_exception": "random_seed_gen_exception",
        "seed_sequences": "random_seed_sequences",
    },
    "status": {"status": "status", "statusor": "statusor"},
    "strings": {"cord": "cord", "str_format": "str_format", "strings": "strings"},
    "synchronization": {"synchronization": "synchronization"},
    "time": {"time": "time"},
    "types": {"any": "any", "compare": "compare", "optional": "optional", "span": "span", "variant": "variant"},
    "utility": {"utility": "utility"},
}

_PACKAGE = "libabsl-dev"

def _field(text, name):
    """The words of one field of a pkg-config file, without commas."""
    for line in text.splitlines():
        if line.startswith(name + ":"):
            return [word for word in line[len(name) + 1:].replace(",", " ").split(" ") if word]
    return []

def _library(repository_ctx, name, text, libraries):
    """The cc_library of one pkg-config file; links its archive if it has one."""
    archives = []
    linkopts = []
    for word in _field(text, "Libs"):
        # -latomic is named too, for machines whose compilers need help with atomics; x86-64 and arm64 are not among them.
        if word.startswith("-labsl_"):
            archive = "lib%s.a" % word[2:]
            link_or_explain(repository_ctx, libraries.get_child(archive), "lib/" + archive, _PACKAGE)
            archives.append("lib/" + archive)
        elif word == "-lrt":
            linkopts += [word, "-pthread"]
    dependencies = [":" + word for word in _field(text, "Requires") if word.startswith("absl_")]
    return "cc_library(name = %r, srcs = %r, linkopts = %r, deps = %r)\n" % (name, archives, linkopts, dependencies)

def _debian_abseil_impl(repository_ctx):
    libraries = library_directory(repository_ctx)
    root = ['package(default_visibility = ["//visibility:public"])\n']
    seen = {}
    for path in libraries.get_child("pkgconfig").readdir():
        if path.basename.startswith("absl_") and path.basename.endswith(".pc"):
            name = path.basename[:-len(".pc")]
            root.append(_library(repository_ctx, name, repository_ctx.read(path), libraries))
            seen[name] = True
    repository_ctx.file("BUILD.bazel", "".join(root), executable = False)

    for package, targets in _TARGETS.items():
        lines = ['package(default_visibility = ["//visibility:public"])\n']
        for target, name in targets.items():
            if "absl_" + name not in seen:
                fail("no pkgconfig/absl_%s.pc; it belongs to the Debian package %s: run ./setup.sh" % (name, _PACKAGE))
            lines.append("alias(name = %r, actual = %r)\n" % (target, "//:absl_" + name))
        repository_ctx.file("absl/%s/BUILD.bazel" % package, "".join(lines), executable = False)

debian_abseil = repository_rule(
    implementation = _debian_abseil_impl,
    doc = "Declares @com_google_absl//absl/... from the files of " + _PACKAGE + ".",
    local = True,
)
