//go:build unix

package pgspooltest

import (
	"errors"
	"fmt"
	"os"
	osuser "os/user"
	"runtime"
	"strconv"
	"syscall"
)

// user is who runs PostgreSQL: nil is whoever runs the test.
type user struct{ credential *syscall.Credential }

// unprivileged is somebody who is not root, as PostgreSQL wants.
func unprivileged() (user, error) {
	if os.Getuid() != 0 {
		return user{}, nil
	}
	u, err := osuser.Lookup("postgres")
	if err != nil {
		u, err = osuser.Lookup("nobody")
	}
	if err != nil {
		return user{}, fmt.Errorf("pgspooltest: nobody to run PostgreSQL: %w", err)
	}
	uid, err1 := strconv.ParseUint(u.Uid, 10, 32)
	gid, err2 := strconv.ParseUint(u.Gid, 10, 32)
	return user{&syscall.Credential{Uid: uint32(uid), Gid: uint32(gid)}}, errors.Join(err1, err2)
}

// own gives a file to the user.
func (u user) own(name string) error {
	if u.credential == nil {
		return nil
	}
	return os.Chown(name, int(u.credential.Uid), int(u.credential.Gid))
}

// attributes let a program run as the user, and end with the test.
func (u user) attributes() *syscall.SysProcAttr {
	attr := &syscall.SysProcAttr{Credential: u.credential}
	endWithParent(attr)
	return attr
}

// lockThread keeps a goroutine to its thread, and the thread to it.
func lockThread() { runtime.LockOSThread() }
