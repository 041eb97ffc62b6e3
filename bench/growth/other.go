//go:build !unix

package main

import (
	"fmt"
	"os"
)

func main() {
	fmt.Fprintln(os.Stderr, "growth: needs a Unix, which tells how much processor time was used")
	os.Exit(1)
}
