"""The `facaded` subcommand of twistd, installed as twisted/plugins/facaded_plugin.py."""

from twisted.application.service import ServiceMaker

facaded = ServiceMaker("facaded", "facaded.twistd", "A container registry facade", "facaded")
