"""Which files of a tree are code that somebody wrote, told by their path: languages, and what is not looked at.

Languages and their suffixes are those of GitHub's Linguist as The Stack used it, less those that hold data or pictures;
the folders of others' code and the names of generated files are from Linguist's lists (vendor.yml, generated.rb).
"""

import re

LANGUAGES = {
    "Ada": "adb ads", "Agda": "agda", "Assembly": "asm nasm s", "Awk": "awk", "Batchfile": "bat cmd", "C": "c h",
    "C#": "cs", "C++": "cc cpp cxx c++ hh hpp hxx h++ ipp tpp", "CMake": "cmake", "CSS": "css", "CUDA": "cu cuh",
    "Clojure": "clj cljc cljs", "CoffeeScript": "coffee", "Common Lisp": "lisp lsp cl", "Crystal": "cr", "Cython": "pyx pxd",
    "D": "d", "Dart": "dart", "Elixir": "ex exs", "Elm": "elm", "Emacs Lisp": "el", "Erlang": "erl hrl",
    "F#": "fs fsi fsx", "Fortran": "f f03 f08 f77 f90 f95 for", "GLSL": "glsl frag vert", "Go": "go",
    "GraphQL": "graphql gql", "Groovy": "groovy gradle", "HCL": "hcl tf", "HTML": "html htm xhtml", "Haskell": "hs lhs",
    "Haxe": "hx", "Idris": "idr", "JSON": "json", "Java": "java", "JavaScript": "js cjs mjs jsx", "Julia": "jl",
    "Kotlin": "kt kts", "Lean": "lean", "Less": "less", "Lua": "lua", "Makefile": "mk mak", "Markdown": "md markdown",
    "Metal": "metal", "Nim": "nim nims", "Nix": "nix", "OCaml": "ml mli", "Objective-C": "m", "Objective-C++": "mm",
    "PHP": "php", "Pascal": "pas pp", "Perl": "pl pm t", "PowerShell": "ps1 psm1 psd1", "Prolog": "pro",
    "Protocol Buffer": "proto", "Python": "py pyi pyw", "R": "r", "Racket": "rkt", "Ruby": "rb gemspec rake",
    "Rust": "rs", "SCSS": "scss", "SQL": "sql", "Sass": "sass", "Scala": "scala sbt sc", "Scheme": "scm ss",
    "Shell": "sh bash zsh ksh", "Solidity": "sol", "Standard ML": "sml sig", "Svelte": "svelte", "Swift": "swift",
    "SystemVerilog": "sv svh", "TOML": "toml", "Tcl": "tcl", "TeX": "tex sty cls", "TypeScript": "ts cts mts tsx",
    "VHDL": "vhd vhdl", "Verilog": "v", "Vim Script": "vim", "Vue": "vue", "XSLT": "xsl xslt", "YAML": "yaml yml",
    "Zig": "zig", "reStructuredText": "rst",
}  # fmt: skip
"""Suffixes of each language; .h is C and .m Objective-C, whatever else they may be."""
_NAMES = {
    "cmakelists.txt": "CMake", "containerfile": "Dockerfile", "dockerfile": "Dockerfile", "gemfile": "Ruby",
    "gnumakefile": "Makefile", "jenkinsfile": "Groovy", "justfile": "Just", "makefile": "Makefile", "meson.build": "Meson",
    "rakefile": "Ruby", "sconscript": "Python", "sconstruct": "Python", "vagrantfile": "Ruby", "wscript": "Python",
    "build.bazel": "Starlark",
}  # fmt: skip
_SUFFIXES = {suffix: language for language, suffixes in LANGUAGES.items() for suffix in suffixes.split()}
_INTERPRETERS = {
    "python": "Python", "sh": "Shell", "bash": "Shell", "dash": "Shell", "zsh": "Shell", "ksh": "Shell", "perl": "Perl",
    "ruby": "Ruby", "node": "JavaScript", "lua": "Lua", "tclsh": "Tcl", "php": "PHP", "awk": "Awk", "julia": "Julia",
    "rscript": "R", "make": "Makefile", "groovy": "Groovy", "deno": "TypeScript",
}  # fmt: skip
_SHEBANG = re.compile(rb"#![ \t]*(?:[^\n ]*/env[ \t]+(?:-\S+[ \t]+)*)?(?:[^\n ]*/)?([A-Za-z]+)")
_VENDORED = frozenset(
    """
    node_modules bower_components vendor vendors third_party third-party thirdparty 3rdparty 3rd_party external extern
    deps godeps pods carthage jspm_packages site-packages dist-packages dist __pycache__ venv virtualenv eggs
    """.split()
)
_LOCKS = frozenset("package-lock.json npm-shrinkwrap.json pnpm-lock.yaml packages.lock.json bun.lock".split())
_GENERATED = re.compile(
    r"(?:.*[.-]min\.(?:js|cjs|mjs|css)|.*\.(?:bundle|chunk)\.js|.*\.pb(?:\.gw)?\.(?:go|cc|h|c|rs)|.*_pb2(?:_grpc)?\.pyi?"
    r"|.*_pb\.(?:js|d\.ts|rb)|.*\.(?:g|freezed|gr)\.dart|.*\.(?:designer|g|g\.i)\.cs|.*\.generated\.[a-z]+|zz_generated\..*"
    r"|.*_generated\.go|(?:parser|lexer)\.tab\.[ch]|.*\.xcodeproj)",
    re.IGNORECASE,
)

HIDDEN, VENDORED, LOCK, GENERATED, OTHER = "hidden", "others' code", "lock file", "generated file", "other file type"


def folder_reason(name: str) -> str | None:
    """Why a folder of that name is not looked into; None where it is."""
    if name.startswith("."):
        return HIDDEN
    return VENDORED if name.lower() in _VENDORED else None


def file_reason(name: str) -> str | None:
    """Why a file of that name is not read; None where it may be code."""
    lowered = name.lower()
    if lowered.startswith("."):
        return HIDDEN
    if lowered in _LOCKS:
        return LOCK
    return GENERATED if _GENERATED.fullmatch(lowered) else None


def language_of(name: str, begin: bytes = b"") -> str:
    """The language of a file by its name, or else by the interpreter that its first line names; "" if it is no code."""
    lowered = name.lower()
    if lowered in _NAMES:
        return _NAMES[lowered]
    stem, dot, suffix = lowered.rpartition(".")
    if dot and stem:
        return _SUFFIXES.get(suffix, "")
    match = _SHEBANG.match(begin)
    return _INTERPRETERS.get(match[1].decode().lower(), "") if match else ""


def may_be_code(name: str) -> bool:
    """Whether it is worth to read a file: its name tells a language, or no type at all."""
    return bool(language_of(name)) or "." not in name
