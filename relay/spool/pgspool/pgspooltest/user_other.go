//go:build !unix

package pgspooltest

import "syscall"

// user is whoever runs the test.
type user struct{}

func unprivileged() (user, error) { return user{}, nil }

func (user) own(string) error { return nil }

func (user) attributes() *syscall.SysProcAttr { return &syscall.SysProcAttr{} }

func lockThread() {}
