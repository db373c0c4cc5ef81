// Close an open menu when the next click or the focus goes elsewhere, or on Escape. Menus open without this.
const menus = () => document.querySelectorAll("details[data-menu][open]");
const leave = (event) => menus().forEach((menu) => menu.contains(event.target) || menu.removeAttribute("open"));
document.addEventListener("click", leave);
document.addEventListener("focusin", leave);
document.addEventListener("keydown", (event) => {
  if (event.key !== "Escape") return;
  menus().forEach((menu) => {
    menu.removeAttribute("open");
    menu.querySelector("summary").focus();
  });
});
