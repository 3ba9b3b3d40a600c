package postern

import "fmt"

// A FieldError is one fault of a configuration: the path of the field and what
// is wrong with it. Constructors of all packages look at everything before they
// answer: what they return has a method Unwrap() []error with one *FieldError
// for each fault, and [errors.As] finds the first. Where a package checks what
// another holds, it puts its own path before the other's.
type FieldError struct {
	// Field is the path as in Go, such as "Connectors[1].RemoteIPRanges[0]". In
	// a file that is read line by line it is the file's name and the line, such
	// as "users.htpasswd:3". Empty is the value as a whole.
	Field string
	// Err is what is wrong.
	Err error
}

// Error returns the path and what is wrong.
func (e *FieldError) Error() string {
	if e.Field == "" {
		return fmt.Sprint(e.Err)
	}
	return fmt.Sprintf("%s: %v", e.Field, e.Err)
}

// Unwrap returns what is wrong.
func (e *FieldError) Unwrap() error { return e.Err }
