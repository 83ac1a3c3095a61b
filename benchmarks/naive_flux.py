"""The concept stream of FLUX.1, written out by hand as in the ConceptAttention paper. It shares no code with `ca_seg`.

One pass has the image, the prompt and the concepts side by side, with a second attention for the concepts in each
block. It is slow. It is the reference of the tests and of benchmarks/overhead.py, and can be compared with the paper.
"""

from __future__ import annotations

import torch
from diffusers import FluxTransformer2DModel


def _rotate(x: torch.Tensor, cos: torch.Tensor, sin: torch.Tensor) -> torch.Tensor:
    """Rotary embedding on [B, heads, T, d]: pairs (even, odd) are rotated by the angle of their position."""
    even, odd = x[..., 0::2].float(), x[..., 1::2].float()
    turned = torch.stack([-odd, even], dim=-1).flatten(-2)
    return (x.float() * cos + turned * sin).to(x.dtype)


def plain_attention(q: torch.Tensor, k: torch.Tensor, v: torch.Tensor) -> torch.Tensor:
    """softmax(q k / sqrt(d)) v, written out."""
    weights = (q @ k.transpose(-1, -2) / q.shape[-1] ** 0.5).softmax(dim=-1)
    return weights @ v


def _heads(x: torch.Tensor, heads: int) -> torch.Tensor:
    return x.unflatten(-1, (heads, -1)).transpose(1, 2)


def _join(x: torch.Tensor) -> torch.Tensor:
    return x.transpose(1, 2).flatten(2)


@torch.no_grad()
def naive_flux(
    model: FluxTransformer2DModel,
    image: torch.Tensor,
    prompt: torch.Tensor,
    prompt_pooled: torch.Tensor,
    concepts: torch.Tensor,
    concepts_pooled: torch.Tensor,
    timestep: torch.Tensor,
    image_ids: torch.Tensor,
    guidance: torch.Tensor | None = None,
    attention=plain_attention,
    full: bool = False,
    stop: int | None = None,
    kept_layers: tuple[int, ...] | None = None,
) -> list[dict[str, torch.Tensor]]:
    """Per layer (double blocks, then single blocks): image and concept `output`, `value`, `query`, `key`, [B, T, D].

    Args:
        full: compute the second attention with all queries [concept, image] and drop the rows of the image, as the
            reference implementation of the method does
        stop: run this many layers only
        kept_layers: return these layers only, as the reference implementation does (default: all)
    """
    heads = model.config.num_attention_heads

    def condition(pooled):
        if guidance is None:
            return model.time_text_embed(timestep * 1000, pooled)
        return model.time_text_embed(timestep * 1000, guidance * 1000, pooled)

    temb, concept_temb = condition(prompt_pooled), condition(concepts_pooled)
    x, p, c = model.x_embedder(image), model.context_embedder(prompt), model.context_embedder(concepts)
    text_ids, concept_ids = image_ids.new_zeros(p.shape[1], 3), image_ids.new_zeros(c.shape[1], 3)
    turn = model.pos_embed(torch.cat([text_ids, image_ids]))
    concept_turn = model.pos_embed(torch.cat([concept_ids, image_ids]))
    layers, number = [], 0

    def projected(attn, hidden, added):
        names = ("add_q_proj", "add_k_proj", "add_v_proj") if added else ("to_q", "to_k", "to_v")
        q, k, v = (_heads(getattr(attn, n)(hidden), heads) for n in names)
        norm_q, norm_k = (attn.norm_added_q, attn.norm_added_k) if added else (attn.norm_q, attn.norm_k)
        return norm_q(q), norm_k(k), v

    def keep(qi, ki, vi, oi, qc, kc, vc, oc):
        names = ("query", "key", "value", "output")
        nonlocal number
        number += 1
        if kept_layers is not None and number - 1 not in kept_layers:
            return
        layers.append(
            {f"image_{n}": _join(t) for n, t in zip(names, (qi, ki, vi, oi), strict=True)}
            | {f"concept_{n}": _join(t) for n, t in zip(names, (qc, kc, vc, oc), strict=True)}
        )

    for block in list(model.transformer_blocks)[:stop]:
        attn = block.attn
        nx, gx, sx, mx, hx = block.norm1(x, emb=temb)
        np_, gp, sp, mp, hp = block.norm1_context(p, emb=temb)
        nc, gc, sc, mc, hc = block.norm1_context(c, emb=concept_temb)
        (qx, kx, vx), (qp, kp, vp), (qc, kc, vc) = (
            projected(attn, nx, False),
            projected(attn, np_, True),
            projected(attn, nc, True),
        )
        q, k = _rotate(torch.cat([qp, qx], 2), *turn), _rotate(torch.cat([kp, kx], 2), *turn)
        joint = attention(q, k, torch.cat([vp, vx], 2))
        cut = p.shape[1]
        qcx, kcx = _rotate(torch.cat([qc, qx], 2), *concept_turn), _rotate(torch.cat([kc, kx], 2), *concept_turn)
        asking = qcx if full else qcx[:, :, : c.shape[1]]
        second = attention(asking, kcx, torch.cat([vc, vx], 2))[:, :, : c.shape[1]]
        keep(
            q[:, :, cut:],
            k[:, :, cut:],
            vx,
            joint[:, :, cut:],
            qcx[:, :, : c.shape[1]],
            kcx[:, :, : c.shape[1]],
            vc,
            second,
        )

        def finish(hidden, out, gate, shift, scale, gate_mlp, norm, ff, project):
            hidden = hidden + gate.unsqueeze(1) * project(out)
            inner = norm(hidden) * (1 + scale[:, None]) + shift[:, None]
            return hidden + gate_mlp.unsqueeze(1) * ff(inner)

        x = finish(x, _join(joint[:, :, cut:]), gx, sx, mx, hx, block.norm2, block.ff, attn.to_out[0])
        p = finish(p, _join(joint[:, :, :cut]), gp, sp, mp, hp, block.norm2_context, block.ff_context, attn.to_add_out)
        c = finish(c, _join(second), gc, sc, mc, hc, block.norm2_context, block.ff_context, attn.to_add_out)

    if stop is not None and stop <= len(model.transformer_blocks):
        return layers
    for block in model.single_transformer_blocks:
        attn = block.attn
        joint_in = torch.cat([p, x], 1)
        n, gate = block.norm(joint_in, emb=temb)
        nc, concept_gate = block.norm(c, emb=concept_temb)
        q, k, v = projected(attn, n, False)
        qc, kc, vc = projected(attn, nc, False)
        cut = p.shape[1]
        kx, vx, q_image = k[:, :, cut:], v[:, :, cut:], q[:, :, cut:]
        q, k_turned = _rotate(q, *turn), _rotate(k, *turn)
        joint = attention(q, k_turned, v)
        length = c.shape[1]
        cos, sin = concept_turn
        if full:
            qc = _rotate(torch.cat([qc, q_image], 2), cos, sin)
        else:
            qc = _rotate(qc, cos[:length], sin[:length])
        kcx = _rotate(torch.cat([kc, kx], 2), cos, sin)
        second = attention(qc, kcx, torch.cat([vc, vx], 2))[:, :, :length]
        qc = qc[:, :, :length]
        keep(q[:, :, cut:], k_turned[:, :, cut:], vx, joint[:, :, cut:], qc, kcx[:, :, :length], vc, second)

        def leave(hidden, normed, out, gate, block=block):
            return hidden + gate.unsqueeze(1) * block.proj_out(
                torch.cat([_join(out), block.act_mlp(block.proj_mlp(normed))], dim=2)
            )

        joint_out = leave(joint_in, n, joint, gate)
        p, x = joint_out[:, :cut], joint_out[:, cut:]
        c = leave(c, nc, second, concept_gate)
    return layers
