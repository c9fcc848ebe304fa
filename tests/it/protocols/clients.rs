//! Old and new HTTP/1 clients, curl above all.
