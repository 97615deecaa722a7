"""All properties, by name."""

from tests.fuzz import hellos, hostile_registry, parsers, site_bytes, stored_files

PROPERTIES = {
    checked.name: checked
    for module in (parsers, stored_files, hellos, site_bytes, hostile_registry)
    for checked in module.PROPERTIES
}
