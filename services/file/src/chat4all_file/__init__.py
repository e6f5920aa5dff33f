"""Files that messages carry: opened, uploaded in parts straight to the object store, checked, linked."""
