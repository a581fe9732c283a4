document.querySelector("#wrong").hidden = location.search !== "?wrong";
