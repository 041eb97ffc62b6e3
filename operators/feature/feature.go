// Package feature holds the operators that turn columns into features.
package feature

import "github.com/gradstream/gradstream/operators"

// Family lists the operators of this package.
var Family operators.Family
