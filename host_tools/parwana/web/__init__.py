"""The window: pages for household, utility and regulator, served by `parwana serve`."""
