// Ask the browser for a security key or passkey, and send what it answers. Without JavaScript the form stays hidden.
const form = document.querySelector("[data-key-form]");
const button = document.querySelector("[data-key]");
const trouble = document.querySelector("[data-key-trouble]");
const WORDS = {
  NotAllowedError: "No key answered, or it was cancelled. Try again.",
  InvalidStateError: "This key is yours already: it is in the list of your account.",
  SecurityError: "Keys only work at the portal's own address with https, or at localhost on your own machine.",
};

const say = (words) => {
  trouble.textContent = words;
  trouble.hidden = false;
};

async function ask() {
  trouble.hidden = true;
  try {
    const options = JSON.parse(button.dataset.options);
    const answer = await window.webauthnJSON[button.dataset.key](options);
    form.elements.credential.value = JSON.stringify(answer);
    form.submit();
  } catch (error) {
    say(WORDS[error.name] ?? `The browser could not ask for a key: ${error.message}`);
  }
}

if (form && window.PublicKeyCredential) {
  form.hidden = false;
  button.addEventListener("click", ask);
} else if (trouble) {
  say("This browser knows no security keys, or the portal's address has no https.");
}
