// Passkeys: asks the browser for one, and sends what it says with the form around. And the
// end of a log-in that lies idle: a warning, and then the page goes. The one script of
// these pages; without it everything else still works.
"use strict";
(() => {
  const bytes = (text) => {
    const plain = atob(text.replaceAll("-", "+").replaceAll("_", "/"));
    return Uint8Array.from(plain, (c) => c.charCodeAt(0));
  };
  const text = (buffer) =>
    btoa(String.fromCharCode(...new Uint8Array(buffer)))
      .replaceAll("+", "-").replaceAll("/", "_").replaceAll("=", "");
  const known = (list) =>
    (list || "").split(" ").filter(Boolean).map((id) => ({ type: "public-key", id: bytes(id) }));

  const create = async (box, form) => {
    const made = await navigator.credentials.create({
      publicKey: {
        challenge: bytes(box.dataset.challenge),
        rp: { id: box.dataset.site, name: "Phial" },
        user: { id: bytes(box.dataset.handle), name: box.dataset.user, displayName: box.dataset.user },
        pubKeyCredParams: [-7, -8, -257].map((alg) => ({ type: "public-key", alg })),
        excludeCredentials: known(box.dataset.allow),
        authenticatorSelection: { residentKey: "preferred", userVerification: "required" },
        attestation: "none",
      },
    });
    form.elements.client_data.value = text(made.response.clientDataJSON);
    form.elements.attestation.value = text(made.response.attestationObject);
  };

  const get = async (box, form) => {
    const shown = await navigator.credentials.get({
      publicKey: {
        challenge: bytes(box.dataset.challenge),
        rpId: box.dataset.site,
        allowCredentials: known(box.dataset.allow),
        userVerification: "required",
      },
    });
    form.elements.credential.value = text(shown.rawId);
    form.elements.client_data.value = text(shown.response.clientDataJSON);
    form.elements.authenticator_data.value = text(shown.response.authenticatorData);
    form.elements.signature.value = text(shown.response.signature);
  };

  // The server ends an idle log-in by itself; this shows it (WCAG 2.2, 2.2.1: a warning,
  // and one key to go on).
  const { idle, ended, stay } = document.body.dataset;
  if (idle) {
    const whole = Number(idle) * 1000;
    const notice = Math.min(60_000, whole / 2);
    const box = document.getElementById("idle");
    let timers = [];
    const begin = () => {
      timers.forEach(clearTimeout);
      box.hidden = true;
      timers = [
        setTimeout(() => { box.hidden = false; }, whole - notice),
        setTimeout(() => location.replace(ended), whole),
      ];
    };
    box.querySelector("button").addEventListener("click", async () => {
      const answer = await fetch(stay, { method: "HEAD", redirect: "manual" });
      if (answer.ok) begin(); else location.replace(ended);
    });
    begin();
  }

  for (const box of document.querySelectorAll("[data-passkey]")) {
    const form = box.querySelector("form");
    const said = box.querySelector(".late");
    const button = form.querySelector("button[type=submit]");
    form.addEventListener("submit", async (event) => {
      event.preventDefault();
      said.hidden = true;
      button.disabled = true;
      try {
        if (!window.PublicKeyCredential) throw new Error("none");
        await (box.dataset.passkey === "create" ? create : get)(box, form);
        form.submit();
      } catch (error) {
        button.disabled = false;
        said.hidden = false;
        said.textContent = error.name === "InvalidStateError"
          ? "This device has a passkey of yours already."
          : "That did not work, or was broken off. Passkeys need this page's own address, and a device with a screen lock or a security key with a PIN.";
      }
    });
  }
})();
