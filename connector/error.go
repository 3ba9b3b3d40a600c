package connector

import (
	"errors"
	"fmt"
)

// FieldError is one fault of a configuration: the path of the field and what is
// wrong with it.
type FieldError struct {
	Field string // "[1].RemoteIPRanges[0]"
	Err   error
}

func (e *FieldError) Error() string { return fmt.Sprintf("%s: %v", e.Field, e.Err) }

// Unwrap returns what is wrong.
func (e *FieldError) Unwrap() error { return e.Err }

// faults gathers the faults of a configuration.
type faults struct{ list []error }

// in returns a function that adds faults of the fields below prefix.
func (f *faults) in(prefix string) report {
	return func(field, format string, args ...any) {
		f.list = append(
			f.list, &FieldError{Field: prefix + field, Err: fmt.Errorf(format, args...)},
		)
	}
}

func (f *faults) join() error { return errors.Join(f.list...) }

// report adds a fault of a field.
type report func(field, format string, args ...any)
