// Marks the exported classes, so that `instanceof` and the names of errors do not depend on how the package was bundled.

/** The mark of a class. It is registered, so that each loaded copy of the package has the same. */
const markOf = (name: string): symbol => Symbol.for(`pglisten.${name}`)

/**
 * Lets `instanceof` recognize instances of a class from every copy of the package that the process has loaded: a bundle has
 * one of its own, and so has each module registry of a test runner. Subclasses outside the package keep the usual
 * `instanceof`.
 */
export function brand(target: { readonly prototype: object }, name: string): void {
  const mark = markOf(name)
  Object.defineProperty(target.prototype, mark, { value: true })
  Object.defineProperty(target, Symbol.hasInstance, {
    value(this: unknown, value: unknown): boolean {
      // A subclass inherits this function.
      if (this !== target) return Function.prototype[Symbol.hasInstance].call(this, value)
      return typeof value === 'object' && value !== null && mark in value
    },
  })
}

/** Brands the class of an error, and gives it its name: a minifier changes the names of classes. */
export function brandError(target: { readonly prototype: Error }, name: string): void {
  brand(target, name)
  // Not enumerable, as with built-in errors, so that it is not printed as a property of its own.
  Object.defineProperty(target.prototype, 'name', {
    value: name,
    configurable: true,
    writable: true,
  })
}
