// Keeps the inbox fresh. Without it, the page has a link that does the same.
setInterval(async () => {
  if (document.hidden) return;
  try {
    const answer = await fetch("/inbox");
    if (!answer.ok) return;
    const html = await answer.text();
    const inbox = document.getElementById("inbox");
    if (inbox.dataset.seen !== html) {
      inbox.dataset.seen = html;
      inbox.innerHTML = html; // made by html/template
    }
  } catch {
    // The application has stopped; the next answer will do.
  }
}, 1000);
