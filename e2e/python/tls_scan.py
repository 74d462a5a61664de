"""sslyze and testssl.sh look at the server as it is with an operator's certificate.

sslyze holds it against Mozilla's intermediate configuration. testssl.sh may find nothing
of medium severity or above. The certificate is of the kind that a hospital's CA issues:
P-256, ninety days, with a place for its revocation list.
"""

import datetime
import ipaddress
import json
import os
import subprocess
import sys
import tempfile
import warnings
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID
from sslyze import (
    CertificateInfoExtraArgument,
    ScanCommandsExtraArguments,
    Scanner,
    ServerNetworkLocation,
    ServerScanRequest,
)
from sslyze.mozilla_tls_profile.tls_config_checker import (
    SCAN_COMMANDS_NEEDED_BY_MOZILLA_CHECKER,
    MozillaTlsConfiguration,
    TlsConfigurationEnum,
    check_server_against_tls_configuration,
)

from world import say

HOST = "127.0.0.1"
NAME = "localhost"
# About roots in the trust stores that sslyze brings, not about us.
warnings.filterwarnings("ignore", message="Parsed a serial number which wasn't positive")

# What testssl.sh says that is less than medium, or no finding at all.
HARMLESS = {"OK", "INFO", "LOW", "DEBUG"}
# Of its warnings these are not about TLS: the page at `/` sends to the log-in page.
WARNINGS = {"HTTP_status_code", "engine_problem"}


def named(name: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])


def certificates(place: Path) -> tuple[Path, Path, Path]:
    """A CA, a certificate of it for this machine, and its key."""
    now = datetime.datetime.now(datetime.UTC)
    day = datetime.timedelta(days=1)
    ca_key = ec.generate_private_key(ec.SECP256R1())
    ca_id = x509.SubjectKeyIdentifier.from_public_key(ca_key.public_key())
    ca = (
        x509.CertificateBuilder()
        .subject_name(named("Hospital CA"))
        .issuer_name(named("Hospital CA"))
        .public_key(ca_key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - day)
        .not_valid_after(now + 3650 * day)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(ca_id, critical=False)
        .add_extension(usage(key_cert_sign=True, crl_sign=True), critical=True)
        .sign(ca_key, hashes.SHA256())
    )
    key = ec.generate_private_key(ec.SECP256R1())
    names = [x509.DNSName(NAME), x509.IPAddress(ipaddress.ip_address(HOST))]
    revoked = x509.DistributionPoint(
        [x509.UniformResourceIdentifier("http://pki.hospital.example/ca.crl")], None, None, None
    )
    leaf = (
        x509.CertificateBuilder()
        .subject_name(named(NAME))
        .issuer_name(ca.subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - day)
        .not_valid_after(now + 89 * day)
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(x509.SubjectAlternativeName(names), critical=False)
        .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]), critical=False)
        .add_extension(usage(digital_signature=True), critical=True)
        .add_extension(x509.CRLDistributionPoints([revoked]), critical=False)
        .add_extension(
            x509.AuthorityKeyIdentifier.from_issuer_subject_key_identifier(ca_id), critical=False
        )
        .sign(ca_key, hashes.SHA256())
    )
    pem = serialization.Encoding.PEM
    files = (place / "ca.pem", place / "server.pem", place / "server.key")
    files[0].write_bytes(ca.public_bytes(pem))
    files[1].write_bytes(leaf.public_bytes(pem))
    files[2].touch(mode=0o600)
    files[2].write_bytes(
        key.private_bytes(
            pem, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )
    )
    return files


def usage(**wanted: bool) -> x509.KeyUsage:
    every = [
        "digital_signature",
        "content_commitment",
        "key_encipherment",
        "data_encipherment",
        "key_agreement",
        "key_cert_sign",
        "crl_sign",
        "encipher_only",
        "decipher_only",
    ]
    return x509.KeyUsage(**{name: wanted.get(name, False) for name in every})


def sslyze(port: int, ca: Path) -> None:
    request = ServerScanRequest(
        server_location=ServerNetworkLocation(hostname=NAME, ip_address=HOST, port=port),
        scan_commands=SCAN_COMMANDS_NEEDED_BY_MOZILLA_CHECKER,
        scan_commands_extra_arguments=ScanCommandsExtraArguments(
            certificate_info=CertificateInfoExtraArgument(custom_ca_file=ca)
        ),
    )
    scanner = Scanner()
    scanner.queue_scans([request])
    wanted = MozillaTlsConfiguration.get(TlsConfigurationEnum.MOZILLA_INTERMEDIATE)
    for result in scanner.get_results():
        check_server_against_tls_configuration(result, wanted)
        info = result.scan_result.certificate_info.result
        for deployed in info.certificate_deployments:
            trusted = [p for p in deployed.path_validation_results if p.was_validation_successful]
            assert trusted, "sslyze does not trust the chain"
    say("sslyze: Mozilla intermediate, compliant")


def testssl(port: int, ca: Path, place: Path) -> None:
    out = place / "testssl.json"
    done = subprocess.run(
        [
            "testssl",
            "--quiet",
            "--warnings",
            "batch",
            "--color",
            "0",
            "--ip",
            HOST,
            "--add-ca",
            ca,
            "--jsonfile",
            out,
            f"{NAME}:{port}",
        ],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        stdin=subprocess.DEVNULL,
        text=True,
        check=False,
    )
    if not out.exists():
        print(done.stdout)
        sys.exit("testssl.sh wrote nothing")
    found = json.loads(out.read_text())
    ids = {f["id"] for f in found}
    # A scan that was cut off has found nothing either.
    for needed in ("TLS1_2", "TLS1_3", "cert_chain_of_trust", "heartbleed", "RC4", "HSTS_time"):
        if needed not in ids:
            print(done.stdout)
            sys.exit(f"testssl.sh did not look at {needed}")
    bad = [
        f
        for f in found
        if f["severity"] not in HARMLESS
        and not (f["severity"] == "WARN" and f["id"] in WARNINGS)
    ]
    for f in bad:
        print(f"{f['severity']} {f['id']}: {f['finding']}")
    if bad:
        sys.exit("testssl.sh found what should not be")
    say(f"testssl.sh: {len(found)} looks, nothing of medium severity or above")


def main() -> None:
    program = os.environ["PHIAL_PROGRAM"]
    with tempfile.TemporaryDirectory() as at:
        place = Path(at)
        home = place / "home"
        subprocess.run([program, "--home", home, "init"], check=True, stdout=subprocess.DEVNULL)
        ca, certificate, key = certificates(place)
        config = home / "phial.toml"
        files = f'[tls]\ncertificate = "{certificate}"\nkey = "{key}"\n'
        config.write_text(config.read_text().replace("[tls]\n", files, 1))
        server = subprocess.Popen(
            [program, "--json", "--home", home, "serve", "--listen", f"{HOST}:0"],
            stdout=subprocess.PIPE,
            text=True,
        )
        try:
            base = json.loads(server.stdout.readline())["base"]
            port = int(base.split(":")[2].split("/")[0])
            sslyze(port, ca)
            testssl(port, ca, place)
        finally:
            server.kill()
            server.wait()


main()
