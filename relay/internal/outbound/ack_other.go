//go:build !linux

package outbound

import "syscall"

// acker has no way to acknowledge: the peer waits for what is written next, or
// for the system.
func acker(syscall.RawConn) func() { return nil }
