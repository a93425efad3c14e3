"""The one version number: package, manifests, product files and bundle all carry this one."""

__version__ = "0.1.0"
