'use client'

import { useEffect, useState } from 'react'

export default function Orders() {
  const [orders, setOrders] = useState([])
  useEffect(() => {
    const events = new EventSource('/orders/events')
    // A real page would read its list from the database here: at the beginning, and whenever something may be missing.
    events.addEventListener('again', () => setOrders([]))
    events.addEventListener('message', ({ data }) => setOrders((before) => [...before, data]))
    return () => events.close()
  }, [])
  return (
    <ul>
      {orders.map((order, index) => (
        <li key={index}>{order}</li>
      ))}
    </ul>
  )
}
