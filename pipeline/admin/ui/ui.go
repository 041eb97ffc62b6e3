// Package ui holds the page on which a process shows its pipelines. It is plain
// HTML, CSS and JavaScript, asks nothing of any other host, and reads the API
// next to it.
package ui

import _ "embed"

// File is one part of the page.
type File struct {
	Type string // media type
	Data []byte
}

//go:embed page.html
var html []byte

//go:embed page.css
var css []byte

//go:embed page.js
var script []byte

//go:embed icon.svg
var icon []byte

// Files holds the parts by the path they are served at.
var Files = map[string]File{
	"/":         {"text/html; charset=utf-8", html},
	"/page.css": {"text/css; charset=utf-8", css},
	"/page.js":  {"text/javascript; charset=utf-8", script},
	"/icon.svg": {"image/svg+xml", icon},
}

// Policy is the content security policy under which the page works: everything
// from here, nothing inline.
const Policy = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; frame-ancestors 'none'; base-uri 'none'; form-action 'none'"
