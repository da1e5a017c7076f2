"""What the dashboards show, one module each; expressions and panels they share.

Used by ``grafana.build``, at build time alone.
Must never be imported by ``jobmon``.
"""
