//go:build linux || darwin || freebsd || netbsd || openbsd || dragonfly

package smtpd

import (
	"net"
	"syscall"
)

// pending reports whether something has arrived on a socket that nobody has
// read. It does not wait.
func pending(c net.Conn) bool {
	s, ok := c.(syscall.Conn)
	if !ok {
		return false
	}
	raw, err := s.SyscallConn()
	if err != nil {
		return false
	}
	n := 0
	err = raw.Control(func(fd uintptr) {
		var b [1]byte
		n, _, _ = syscall.Recvfrom(int(fd), b[:], syscall.MSG_PEEK|syscall.MSG_DONTWAIT)
	})
	return err == nil && n > 0
}
