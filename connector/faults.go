package connector

import (
	"errors"
	"fmt"

	"github.com/postern-mail/postern"
)

// faults gathers the faults of a configuration.
type faults struct{ list []error }

// in returns a function that adds faults of the fields below prefix.
func (f *faults) in(prefix string) report {
	return func(field, format string, args ...any) {
		f.list = append(
			f.list, &postern.FieldError{Field: prefix + field, Err: fmt.Errorf(format, args...)},
		)
	}
}

func (f *faults) join() error { return errors.Join(f.list...) }

// report adds a fault of a field.
type report func(field, format string, args ...any)
