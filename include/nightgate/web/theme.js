// Dark or light as Airflow is, whose user interface keeps its choice here ("light", "dark" or "system") and says when it is another.
const follow = () => {
  try {
    document.documentElement.dataset.theme = localStorage.getItem("theme") ?? "system";
  } catch {
    // a browser that keeps nothing: as the system is
  }
};
follow();
addEventListener("storage", follow);
