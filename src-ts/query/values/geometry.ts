// PostgreSQL's geometric types.

/** A `point`. */
export interface Point {
  /** The horizontal coordinate. */
  x: number
  /** The vertical coordinate. */
  y: number
}

/** A `line`: all points for which `a * x + b * y + c` is 0. */
export interface Line {
  /** The factor of `x`. */
  a: number
  /** The factor of `y`. */
  b: number
  /** The constant. */
  c: number
}

/** A `path`. */
export interface Path {
  /** The points. */
  points: Point[]
  /** Whether the last point is connected with the first one. */
  closed: boolean
}

/** A `circle`. */
export interface Circle {
  /** The horizontal coordinate of the centre. */
  x: number
  /** The vertical coordinate of the centre. */
  y: number
  /** The radius. */
  radius: number
}
