// Sends what a mailed link carries to the API. The token stands behind the #, which no server sees and no mail scanner
// uses up: it leaves the address bar at once and is sent only when a person says so.
const form = document.querySelector("form");
const said = document.querySelector("[role=status]");
const token = new URLSearchParams(location.hash.slice(1)).get("token");
history.replaceState(null, "", location.pathname);
// Another mail's link in the same tab changes nothing but the fragment.
addEventListener("hashchange", () => location.reload());

function tell(sentence) {
  said.textContent = sentence;
}

function end(sentence) {
  form.remove();
  tell(sentence);
}

async function send(body) {
  const answer = await fetch(form.action, {
    method: "POST",
    headers: { "Content-Type": "application/json" },
    body: JSON.stringify(body),
    credentials: "omit",
    redirect: "error",
  });
  if (answer.status === 204) return end(said.dataset.done);
  const problem = await answer.json();
  if (problem.errors?.some((error) => error.field === "token")) return end(said.dataset.over);
  tell(problem.detail ?? said.dataset.unreachable);
}

form.addEventListener("submit", async (event) => {
  event.preventDefault();
  const [password, again] = form.querySelectorAll("input");
  if (password?.value !== again?.value) return tell(said.dataset.different);
  const button = form.querySelector("button");
  button.disabled = true;
  tell("");
  try {
    await send(password ? { token, [password.dataset.field]: password.value } : { token });
  } catch {
    tell(said.dataset.unreachable);
  } finally {
    button.disabled = false;
  }
});

if (token) form.hidden = false;
else tell(said.dataset.incomplete);
