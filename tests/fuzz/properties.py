"""All properties, by name."""

from tests.fuzz import hellos, parsers, registry_bytes, site_bytes, stored_files

PROPERTIES = {
    checked.name: checked
    for module in (parsers, stored_files, hellos, site_bytes, registry_bytes)
    for checked in module.PROPERTIES
}
