// Package examples holds templates of programs that embed a relay.
package examples
