//go:build tools

// Package tools names the command that go.mod pins.
package tools

import _ "github.com/summerwind/h2spec/cmd/h2spec"
