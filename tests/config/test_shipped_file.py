"""The file in conf/: every key, its default, and nothing unknown."""

import re
from pathlib import Path

from attrs import evolve, fields

from facaded import config
from facaded.config import Acme, Ca, Config, Tls
from facaded.tls.certificate_files import CertificateFiles
from tests.config.reading import read

SHIPPED = Path(__file__).parent.parent.parent / "conf" / "facaded.toml"


def test_the_shipped_file_is_all_comment_and_gives_the_defaults(tmp_path: Path) -> None:
    assert read(SHIPPED.read_text(), tmp_path).config == Config()


def test_every_key_of_the_shipped_file_is_known_and_says_its_default(tmp_path: Path) -> None:
    text = re.sub(r"^#(?=\[|[a-z_]+ = )", "", SHIPPED.read_text(), flags=re.MULTILINE)
    examples = "ca_file|canary|directory|control|rename|username|password_file|realm|https"
    text = re.sub(rf"^({examples}) = .*$", "", text, flags=re.MULTILINE)
    beginning, _, rest = text.partition("\n[tls]\n")
    text = beginning + "\n" + rest[rest.index("[[backend]]") : rest.index("[[route]]")]
    assert read(text, tmp_path).config == Config()


def test_every_key_of_tls_in_the_shipped_file_is_known_and_says_its_default(tmp_path: Path) -> None:
    shipped = SHIPPED.read_text()
    text = re.sub(r"^#(?=\[|[a-z_]+ = )", "", shipped[: shipped.index("# The registries")], flags=re.MULTILINE)
    beginning, tls, rest = text.partition("\n[tls]\n")
    https = next(line for line in beginning.splitlines() if line.startswith("https = "))
    examples = "acme_webroot|email|profile|eab_key_id|eab_hmac_key_file|ca_file"
    rest = re.sub(rf"^({examples}) = .*$", "", rest, flags=re.MULTILINE)
    rest = rest.replace("[[tls.acme.ca]]\ndirectory", "[[tls.acme.ca]]\n#directory", 1)
    rest = rest.replace("agree_to_terms = false", "agree_to_terms = true")
    settings = read(f'hosts = ["docker.example.com"]\n[listen]\n{https}\n{tls}{rest}', tmp_path).config
    files = CertificateFiles(Path("/etc/facaded/tls/fullchain.pem"), Path("/etc/facaded/tls/privkey.pem"))
    assert settings.listen == evolve(Config().listen, http=config.PLAIN_BESIDE_TLS)
    assert settings.tls is not None
    assert settings.tls.files == (files,)
    assert evolve(settings.tls, certificates=()) == Tls(acme=Acme(agree_to_terms=True))
    assert f'directory = "{Ca().directory}"' in shipped


def test_every_key_of_the_settings_is_in_the_shipped_file() -> None:
    shipped = SHIPPED.read_text()
    sections: list[type] = [config.Config, config.Listen, config.Health, config.Cache, config.State, config.Backend]
    sections += [config.Route, config.Tls, config.Certificate, config.Acme, config.Ca]
    renamed = {"routes", "backends", "certificates", "cas", "acme"}
    keys = {each.name for section in sections for each in fields(section)} - renamed
    keys |= {"tls.certificate", "tls.acme", "tls.acme.ca", "backend", "route"}
    missing = {key for key in keys if not re.search(rf"^#?\[*{re.escape(key)}\]*( = |$)", shipped, re.MULTILINE)}
    assert missing == set()
