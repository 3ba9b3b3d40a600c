package auth_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/postern-mail/postern/auth"
)

func TestHtpasswdWaitsForItsTurn(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "users")
	write(t, path, "anna:"+hash(t, "secret")+"\n", 1)
	synctest.Test(t, func(t *testing.T) {
		hasher := auth.NewHasher(nil)
		h, err := auth.OpenHtpasswd(path, &auth.HtpasswdOptions{Hasher: hasher})
		if err != nil {
			t.Fatal(err)
		}
		release := hasher.Hold()
		for _, user := range []string{"anna", "nobody"} {
			ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
			id, err := h.Verify(ctx, auth.Proof{Username: user, Password: "secret"})
			cancel()
			if id != nil || !errors.Is(err, context.DeadlineExceeded) ||
				errors.Is(err, auth.ErrBadCredentials) {
				t.Errorf("%s: %v, %v", user, id, err)
			}
		}
		done := make(chan string)
		go func() { done <- outcome(t, h, "anna", "secret") }()
		synctest.Wait()
		release()
		if got := <-done; got != "yes" {
			t.Error(got)
		}
		// A password that was good needs no turn.
		release = hasher.Hold()
		if got := outcome(t, h, "anna", "secret"); got != "yes" {
			t.Error(got)
		}
		release()

		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		if _, err := h.Verify(
			ctx, auth.Proof{Username: "anna", Password: "wrong"},
		); !errors.Is(err, context.Canceled) {
			t.Error(err)
		}
	})
}

func TestHtpasswdConcurrently(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "users")
	write(t, path, "anna:"+hash(t, "secret")+"\n", 0)
	synctest.Test(t, func(t *testing.T) {
		h, err := auth.OpenHtpasswd(path, nil)
		if err != nil {
			t.Fatal(err)
		}
		for i := range 4 {
			write(
				t, path, fmt.Sprintf("anna:%s\nu%d:%s\n", hash(t, "secret"), i, hash(t, "x")), i+1,
			)
			time.Sleep(time.Second)
			var wg sync.WaitGroup
			for range 8 {
				wg.Go(func() {
					if got := outcome(t, h, "anna", "secret"); got != "yes" {
						t.Error(got)
					}
					if got := outcome(t, h, "anna", "wrong"); got != "no" {
						t.Error(got)
					}
				})
			}
			wg.Wait()
			if got := outcome(t, h, fmt.Sprintf("u%d", i), "x"); got != "yes" {
				t.Errorf("u%d: %s", i, got)
			}
		}
	})
}

func BenchmarkHtpasswd(b *testing.B) {
	path := filepath.Join(b.TempDir(), "users")
	if err := os.WriteFile(path, []byte("anna:"+hash(b, "secret")+"\n"), 0o600); err != nil {
		b.Fatal(err)
	}
	h, err := auth.OpenHtpasswd(path, nil)
	if err != nil {
		b.Fatal(err)
	}
	b.ReportAllocs()
	for b.Loop() {
		if _, err := h.Verify(
			b.Context(), auth.Proof{Username: "anna", Password: "secret"},
		); err != nil {
			b.Fatal(err)
		}
	}
}
