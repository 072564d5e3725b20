// What the addon throws is a defect of this package, such as a panic that was caught at the border. Node-API makes a plain error of
// it; here it becomes one of the package's.
import { defect } from './defect.js'

/** A function or a class of the addon. */
type Native = (new (...args: unknown[]) => object) & ((...args: unknown[]) => unknown)

/**
 * Marks an addon whose functions are contained. The runtime keeps an addon, so another copy of this package may have got it
 * before. The mark is registered, as each copy has to find it.
 */
const CONTAINED = Symbol.for('pglisten.contained')

/** Lets all functions, constructors and methods of the addon throw the package's errors. */
export function contained<Addon extends object>(addon: Addon): Addon {
  if (CONTAINED in addon) return addon
  Object.defineProperty(addon, CONTAINED, { value: true })
  const members = addon as Record<string, Native | undefined>
  for (const [name, member] of Object.entries(members)) {
    if (typeof member !== 'function') continue
    const prototype = (member as Native).prototype as Record<string, Native>
    // Not only on objects that are made here: Rust makes some, too.
    for (const [method, native] of Object.entries(prototype)) {
      prototype[method] = containedMethod(`${name}.${method}()`, native)
    }
    members[name] = new Proxy<Native>(member, {
      apply: containedCall(name, Reflect.apply),
      // Without `new.target`, which is the proxy: V8 would give each instance a hidden class of its own, of some hundred bytes.
      construct: containedCall(`new ${name}()`, (construct: Native, args: unknown[]) =>
        Reflect.construct(construct, args),
      ),
    })
  }
  return addon
}

function containedMethod(where: string, native: Native): Native {
  return function method(this: unknown, ...args: unknown[]) {
    try {
      return native.apply(this, args)
    } catch (error) {
      throw defect(where, error)
    }
  } as Native
}

function containedCall<Args extends unknown[], Result>(
  where: string,
  call: (...args: Args) => Result,
): (...args: Args) => Result {
  return (...args) => {
    try {
      return call(...args)
    } catch (error) {
      throw defect(where, error)
    }
  }
}
