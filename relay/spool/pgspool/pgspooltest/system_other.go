//go:build !linux

package pgspooltest

import (
	"errors"
	"syscall"
)

func endWithParent(*syscall.SysProcAttr) {}

func mountDisk(string, int64) (func() error, error) {
	return func() error { return nil }, errors.New(
		"pgspooltest: a disk of its own needs root, and Linux",
	)
}
