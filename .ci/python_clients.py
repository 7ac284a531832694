"""Reads a secret from the embedded Azure with Azure's own Python clients."""

import logging
import os
from importlib.metadata import version

from azure.core.exceptions import ClientAuthenticationError, ResourceNotFoundError
from azure.identity import (
    CertificateCredential,
    ClientSecretCredential,
    CredentialUnavailableError,
    ManagedIdentityCredential,
    WorkloadIdentityCredential,
)
from azure.keyvault.secrets import SecretClient

TENANT = os.environ["AZURE_TENANT_ID"]
CLIENT = os.environ["AZURE_CLIENT_ID"]


def vault(credential):
    # The vault is at localhost here, which is no part of vault.azure.net.
    return SecretClient(
        os.environ["VAULT_URL"],
        credential,
        verify_challenge_resource=False,
        retry_total=0,
    )


def application(secret):
    # The authority comes from AZURE_AUTHORITY_HOST. Without the option MSAL asks
    # login.microsoftonline.com whether it may be trusted.
    return ClientSecretCredential(
        TENANT, CLIENT, secret, disable_instance_discovery=True
    )


def check(what, condition, shown=""):
    if not condition:
        raise SystemExit(f"python clients: FAILED: {what}: {shown}")
    print(f"python clients: {what}: {shown or 'ok'}")


def refused(expected, call):
    try:
        call()
    except expected as error:
        return error
    return None


def hosts():
    """The variables of each host that the embedded Azure can be."""
    for line in os.environ["EMBEDDED_HOSTS"].splitlines():
        host, variables = line.split(": ", 1)
        yield host, dict(pair.split("=", 1) for pair in variables.split(" "))


def on_every_host():
    worker = os.environ["WORKER_CLIENT_ID"]
    for host, variables in hosts():
        if host == "azure-arc":
            # The clients look for its key files where the real agent has them.
            continue
        if host == "app-service-2017":
            # To them it is Azure Machine Learning, which writes no dates.
            continue
        if host == "workload-identity":
            continue
        os.environ.update(variables)
        try:
            secret = vault(ManagedIdentityCredential()).get_secret("db")
            check(f"ManagedIdentityCredential reads on {host}", secret.value == "s3cret")
            if host in ("cloud-shell", "service-fabric"):
                continue
            credential = ManagedIdentityCredential(client_id=worker)
            secret = vault(credential).get_secret("db")
            check(f"the same by client id on {host}", secret.value == "s3cret")
        finally:
            for name in variables:
                del os.environ[name]


def by_assertion():
    """Those that sign a token, or are given one, instead of a secret."""
    for chain in (False, True):
        credential = CertificateCredential(
            TENANT,
            CLIENT,
            os.environ["CERTIFICATE"],
            send_certificate_chain=chain,
            disable_instance_discovery=True,
        )
        secret = vault(credential).get_secret("db")
        what = "with its chain" if chain else "by its thumbprint"
        check(f"CertificateCredential reads {what}", secret.value == "s3cret")
    stranger = CertificateCredential(
        TENANT, CLIENT, os.environ["STRANGER"], disable_instance_discovery=True
    )
    error = refused(ClientAuthenticationError, lambda: vault(stranger).get_secret("db"))
    check(
        "a certificate of somebody else is refused",
        error is not None and "AADSTS700027" in str(error),
        error and str(error).splitlines()[0][:90] + "...",
    )

    pod = dict(hosts())["workload-identity"]
    credential = WorkloadIdentityCredential(
        tenant_id=pod["AZURE_TENANT_ID"],
        client_id=pod["AZURE_CLIENT_ID"],
        token_file_path=pod["AZURE_FEDERATED_TOKEN_FILE"],
        disable_instance_discovery=True,
    )
    secret = vault(credential).get_secret("db")
    check("WorkloadIdentityCredential reads", secret.value == "s3cret")


def main():
    # What is refused on purpose would be logged as a warning.
    logging.disable(logging.WARNING)
    for package in ("azure-identity", "azure-keyvault-secrets", "msal"):
        print(f"python clients: {package} {version(package)}")

    client = vault(application(os.environ["AZURE_CLIENT_SECRET"]))
    secret = client.get_secret("db")
    check("ClientSecretCredential reads", secret.value == "s3cret", f"db = {secret.value}")
    same = client.get_secret("db", secret.properties.version)
    check("the same by its version", same.value == "s3cret", same.properties.version)

    client.set_secret("written", "by python", content_type="text/plain", tags={"a": "b"})
    written = client.get_secret("written")
    check(
        "a secret is written and read back",
        (written.value, written.properties.content_type, written.properties.tags)
        == ("by python", "text/plain", {"a": "b"}),
        f"written = {written.value}",
    )
    for number in range(30):
        client.set_secret(f"page-{number:02}", "x")
    names = [item.name for item in client.list_properties_of_secrets()]
    check("all pages of the list arrive", len(names) == 32, f"{len(names)} names")
    deleted = client.begin_delete_secret("written").result()
    check("a secret is deleted", deleted.name == "written", deleted.name)
    missing = refused(ResourceNotFoundError, lambda: client.get_secret("written"))
    check(
        "what is gone is not found",
        missing is not None and missing.error.code == "SecretNotFound",
        missing and missing.error.code,
    )

    secret = vault(ManagedIdentityCredential()).get_secret("db")
    check(
        "ManagedIdentityCredential (system-assigned) reads",
        secret.value == "s3cret",
        f"db = {secret.value}",
    )
    worker = ManagedIdentityCredential(client_id=os.environ["WORKER_CLIENT_ID"])
    secret = vault(worker).get_secret("db")
    check(
        "ManagedIdentityCredential (user-assigned, by client id) reads",
        secret.value == "s3cret",
        f"db = {secret.value}",
    )
    stranger = ManagedIdentityCredential(client_id="00000000-0000-0000-0000-000000000001")
    error = refused(CredentialUnavailableError, lambda: vault(stranger).get_secret("db"))
    check(
        "an identity that is not assigned is unavailable",
        error is not None and "Identity not found" in str(error),
        error and str(error).splitlines()[0],
    )

    on_every_host()
    by_assertion()

    error = refused(
        ClientAuthenticationError, lambda: vault(application("wrong")).get_secret("db")
    )
    check(
        "a wrong secret is refused",
        error is not None and "AADSTS7000215" in str(error),
        error and str(error).splitlines()[0][:90] + "...",
    )


main()
